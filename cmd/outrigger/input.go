package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"outrigger.dev/outrigger/internal/manifest"
)

// readInput reads a file, or standard input for "-".
func readInput(name string, stdin io.Reader) (*manifest.Stream, error) {
	switch name {
	case "":
		return nil, errors.New("no input: name a file with -f FILE, or -f - for standard input")
	case "-":
		stream, err := manifest.Read(stdin)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return stream, nil
	}
	file, err := os.Open(name) //nolint:gosec // the file that the caller names, with his rights
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	stream, err := manifest.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return stream, nil
}

// printer writes the whole stream, or nothing.
type printer func(stream *manifest.Stream, stdout io.Writer) error

// printerFor reads -o: a format, or the name of a file, which is what istioctl kube-inject takes there.
func printerFor(output string) (printer, error) {
	switch output {
	case "":
		return nil, errors.New(`-o is empty: write "yaml", "json" or the name of a file`)
	case "yaml":
		return func(stream *manifest.Stream, stdout io.Writer) error { return printTo(stdout, stream.YAML) }, nil
	case "json":
		return func(stream *manifest.Stream, stdout io.Writer) error { return printTo(stdout, stream.IndentedJSON) }, nil
	}
	return func(stream *manifest.Stream, _ io.Writer) error {
		text := stream.YAML
		if filepath.Ext(output) == ".json" {
			text = stream.IndentedJSON
		}
		out, err := text()
		if err != nil {
			return err
		}
		return os.WriteFile(output, out, 0o644) //nolint:gosec // a manifest is no secret, and umask narrows it
	}, nil
}

func printTo(out io.Writer, text func() ([]byte, error)) error {
	bytes, err := text()
	if err != nil {
		return err
	}
	_, err = out.Write(bytes)
	return err
}
