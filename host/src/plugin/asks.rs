//! What a component asks for, read from its bytes before any of it is compiled.
