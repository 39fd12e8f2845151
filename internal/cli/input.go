// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"

	"outrigger.dev/outrigger/internal/manifest"
)

// inputFlags name the input of a command, as kubectl's -f and -R do: files, directories, patterns, URLs, and standard input.
type inputFlags struct {
	names     []string
	recursive bool
}

func (f *inputFlags) register(command *cobra.Command, what string) {
	flags := genericclioptions.FileNameFlags{
		Usage:     what + ": a file, directory, URL, or - for standard input; can be repeated",
		Filenames: &f.names, Recursive: &f.recursive,
	}
	flags.AddFlags(command.Flags())
	command.Flags().Lookup("recursive").Usage = "read the directories of -f with all directories below them"
}

// input is the text of all files that a command reads. It is kept in memory, because the command looks for Namespaces before it
// decides about the first pod. Documents are parsed one at a time.
type input struct {
	files []inputFile
	found int // objects that each has returned so far
}

type inputFile struct {
	name string // "standard input", a path or a URL
	text []byte
}

// read reads everything that -f names, in that order.
func (f *inputFlags) read(ctx context.Context, stdin io.Reader) (*input, error) {
	if len(f.names) == 0 {
		return nil, usagef("no input: name a file with -f FILE, or -f - for standard input")
	}
	in := &input{}
	for i, name := range f.names {
		var err error
		switch {
		case name == "":
			err = usagef("-f is empty: name a file, or - for standard input")
		case name == "-" && slices.ContainsFunc(in.files, func(file inputFile) bool { return file.name == standardInput }):
			err = usagef("-f -, number %d: standard input can be read once only", i+1)
		case name == "-":
			err = in.add(standardInput, func() ([]byte, error) { return io.ReadAll(stdin) })
		case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
			err = in.add(name, func() ([]byte, error) { return download(ctx, name) })
		default:
			err = f.addPaths(in, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return in, nil
}

const standardInput = "standard input"

func (in *input) add(name string, read func() ([]byte, error)) error {
	text, err := read()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	in.files = append(in.files, inputFile{name, text})
	return nil
}

// addPaths reads a file, the files of a directory, or those that match a pattern.
func (f *inputFlags) addPaths(in *input, name string) error {
	paths := []string{name}
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		matches, err := filepath.Glob(name)
		if err != nil || len(matches) == 0 {
			return fmt.Errorf("%s: no such file or directory, and no file matches it as a pattern", name)
		}
		paths = matches
	}
	for _, path := range paths {
		visitors, err := resource.ExpandPathsToFileVisitors(nil, path, f.recursive, resource.FileExtensions, nil)
		if err != nil {
			return err
		}
		if len(visitors) == 0 {
			hint := map[bool]string{false: "; -R also reads the directories in it"}[f.recursive]
			return fmt.Errorf("directory %s has no file that ends in %s%s", path, strings.Join(resource.FileExtensions, ", "), hint)
		}
		for _, visitor := range visitors {
			file := visitor.(*resource.FileVisitor).Path
			if err := in.add(file, func() ([]byte, error) { return os.ReadFile(file) }); err != nil { //nolint:gosec // the caller's own file
				return err
			}
		}
	}
	return nil
}

// all calls do with every document and its objects. It returns an error if there is no object, as kubectl does.
func (in *input) all(do func(*manifest.Document, []*manifest.Object) error) error {
	before := in.found
	if err := in.each(nil, do); err != nil {
		return err
	}
	if in.found == before {
		return fmt.Errorf("no object was found in %s", in.names())
	}
	return nil
}

// each calls do with every document and its objects. If wanted is not nil, each skips the documents for which it returns false.
func (in *input) each(wanted func(*manifest.Document) bool, do func(*manifest.Document, []*manifest.Object) error) error {
	for _, file := range in.files {
		if err := in.eachOf(file, wanted, do); err != nil {
			return err
		}
	}
	return nil
}

func (in *input) eachOf(file inputFile, wanted func(*manifest.Document) bool, do func(*manifest.Document, []*manifest.Object) error) error {
	named := ""
	if len(in.files) > 1 {
		named = file.name
	}
	reader := manifest.NewReader(bytes.NewReader(file.text), named)
	for {
		document, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && wanted != nil && !wanted(document) {
			continue
		}
		var objects []*manifest.Object
		if err == nil {
			objects, err = document.Objects()
		}
		if err != nil && named == "" {
			return fmt.Errorf("%s: %w", file.name, err)
		}
		if err != nil {
			return err
		}
		in.found += len(objects)
		if err := do(document, objects); err != nil {
			return err
		}
	}
}

// objects returns all objects at once, for commands that need them together.
func (in *input) objects() ([]*manifest.Object, error) {
	var out []*manifest.Object
	err := in.all(func(_ *manifest.Document, objects []*manifest.Object) error {
		out = append(out, objects...)
		return nil
	})
	return out, err
}

// names lists the files that were read.
func (in *input) names() string {
	var out []string
	for _, file := range in.files {
		out = append(out, file.name)
	}
	return strings.Join(out, ", ")
}
