// Command outrigger is the one binary of the project: it serves the webhook and the routing controller in a cluster,
// and prints by hand what they would do.
package main

import (
	"fmt"
	"os"
)

// version is set when the binary is built.
var version = "unknown"

func main() {
	if err := root(os.Args[0]).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error: "+err.Error())
		os.Exit(1)
	}
}
