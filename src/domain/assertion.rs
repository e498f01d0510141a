//! What one line of a batch says: a key and its value, or its absence.
