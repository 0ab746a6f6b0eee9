// Other implementations of the formats that we read and write, for the tests of scripts/test-city.
// The versions are the last ones that Debian 12's Go 1.19 builds.
module peers

go 1.19

require (
	github.com/go-jose/go-jose/v3 v3.0.4
	golang.org/x/mod v0.17.0
)

require golang.org/x/crypto v0.19.0 // indirect
