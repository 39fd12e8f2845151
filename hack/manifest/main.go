// SPDX-License-Identifier: Apache-2.0

// Command manifest writes the chart as one file for "kubectl apply".
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"outrigger.dev/outrigger/hack/chart"
)

func main() {
	out := flag.String("o", "", "file to write; standard output if empty")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(file string) error {
	loaded, err := chart.Own()
	if err != nil {
		return err
	}
	text, err := loaded.Manifest(nil)
	if err != nil {
		return err
	}
	if file == "" {
		_, err = os.Stdout.WriteString(text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}
