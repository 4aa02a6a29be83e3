//! Detection content from source to the form that the engine evaluates.
