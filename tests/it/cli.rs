//! The command `sit`: bad input, files, resume.
