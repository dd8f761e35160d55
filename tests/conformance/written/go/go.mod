module conformance-written

go 1.24

require millstream.dev/sdk v0.0.0

replace millstream.dev/sdk => ../../../../sdk/go
