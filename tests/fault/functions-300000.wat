;; in: load
;; says: functions
;; only: program
{{300000 (func)}}
