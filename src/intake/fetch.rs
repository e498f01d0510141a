//! Remote batches, brought to a local folder.
