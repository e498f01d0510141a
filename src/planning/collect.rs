//! Collecting files under the state URL that nothing needs any more.
