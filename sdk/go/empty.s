// Lets functions without bodies be declared, which are the runtime's or the host's.
