//! Sources that nobody wrote: rows that `millstream retry` gives back to a stage that rejected them.
