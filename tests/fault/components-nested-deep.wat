;; A thousand components, each within the next one.
;; in: load
;; says: levels of nested components
;; nest: 1000
