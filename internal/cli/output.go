// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/manifest"
)

// output is the destination and the format of documents.
type output struct {
	writer func(io.Writer) manifest.Writer
	file   string // empty for standard output
}

func registerOutput(command *cobra.Command, into *string) {
	command.Flags().StringVarP(into, "output", "o", "yaml", `"yaml", "json", or a file to write to, as a path or with an extension (./out, out.yaml)`)
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveDefault))
}

// outputOf parses -o: a format, or a file as in istioctl kube-inject. A value that could be a misspelled format is not a file.
func outputOf(flag string) (output, error) {
	switch flag {
	case "yaml":
		return output{writer: manifest.NewYAMLWriter}, nil
	case "json":
		return output{writer: manifest.NewJSONWriter}, nil
	}
	if !strings.ContainsRune(filepath.ToSlash(flag), '/') && filepath.Ext(flag) == "" {
		return output{}, usagef("-o %q is neither a format nor a file%s Formats: yaml, json. A file has a path or an extension. Example: -o ./%s", flag, didYouMean(flag, "yaml", "json"), cmp.Or(flag, "out.yaml"))
	}
	if filepath.Ext(flag) == ".json" {
		return output{manifest.NewJSONWriter, flag}, nil
	}
	return output{manifest.NewYAMLWriter, flag}, nil
}

// didYouMean returns the end of a sentence about an unknown value: the nearest known value, or a full stop if none is near.
func didYouMean(word string, known ...string) string {
	if near, is := api.NearestVersion(word, known); is {
		return `; did you mean "` + near + `"?`
	}
	return "."
}

// write writes everything that fill writes, or nothing if fill fails, so that the reader of a pipe never gets a part of an
// application.
func (o output) write(stdout io.Writer, fill func(manifest.Writer) error) error {
	var text bytes.Buffer
	writer := o.writer(&text)
	if err := fill(writer); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if o.file != "" {
		return os.WriteFile(o.file, text.Bytes(), 0o644) //nolint:gosec // a manifest is not secret, and umask applies
	}
	_, err := text.WriteTo(stdout)
	return err
}
