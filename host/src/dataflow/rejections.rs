//! `max_rejected`: a batch of which a stage rejects too much stops the job before anything of it is committed.
