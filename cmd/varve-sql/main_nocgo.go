//go:build !cgo || !unix

// Command varve-sql is the SQL process of a Varve server, which starts it. This one was built without cgo and does nothing.
package main

import (
	"fmt"
	"os"
)

// exitNotBuilt tells the server that there is no SQL, whatever it does.
const exitNotBuilt = 3

func main() {
	fmt.Fprintln(os.Stderr, "varve-sql: built without cgo, so without SQL; build it with a C compiler: CGO_ENABLED=1 go build")
	os.Exit(exitNotBuilt)
}
