class Job: pass
