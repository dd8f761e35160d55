module millstream.dev/sdk

go 1.24
