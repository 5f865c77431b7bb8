//! JSON Schema of our files, for editors that complete and check them while they are written.
