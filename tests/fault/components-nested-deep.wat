;; A thousand components, each within the next one.
;; in: load
;; says: within each other
;; nest: 1000
