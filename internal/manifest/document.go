// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// Document is one document of a file, with the separator line before it. It is parsed when its objects are requested.
type Document struct {
	number    int
	line      int    // of the file, counted from 1, where the content begins
	file      string // empty if there is only one
	separator []byte
	content   []byte
	isJSON    bool // one of several JSON documents without separators between them
	joined    bool // such a document, and not the first of them
	isRead    bool
	fields    map[string]any // nil for only space and comments
	changed   bool
}

// Contains reports whether the text of the document contains the word. It does not parse the document.
func (d *Document) Contains(word string) bool { return bytes.Contains(d.content, []byte(word)) }

// Objects returns the objects of the document, with the items of a List in place of the List. It returns an error that names the
// document if it is not YAML, is not a Kubernetes object, has text after its first value, or if an item of a List is not an object.
// A document with only space and comments has no objects.
func (d *Document) Objects() ([]*Object, error) {
	if !d.isRead {
		if err := d.parse(); err != nil {
			return nil, err
		}
		d.isRead = true
	}
	return d.objects()
}

// where names the document in messages.
func (d *Document) where() string {
	where := fmt.Sprintf("document %d", d.number)
	return where + d.ofFile()
}

func (d *Document) ofFile() string {
	if d.file == "" {
		return ""
	}
	return " of " + d.file
}

func (d *Document) parse() error {
	if blank(d.content) {
		return nil
	}
	raw, err := yaml.YAMLToJSONStrict(d.content)
	if err != nil && strings.Contains(err.Error(), "already set in map") {
		if err := d.checkYAMLKeys(); err != nil {
			return err
		}
		raw, err = yaml.YAMLToJSON(d.content) // a key of the mapping overrides a merged one
	}
	if err != nil {
		return fmt.Errorf("%s is not YAML: %s", d.where(), d.place(err))
	}
	value, err := decode(raw)
	if err != nil {
		return fmt.Errorf("%s is not YAML that JSON can express: %w", d.where(), err)
	}
	if err := d.checkEnd(value); err != nil {
		return err
	}
	return d.take(value)
}

// take keeps the value of the document, which must be an object or nothing.
func (d *Document) take(value any) error {
	switch value := value.(type) {
	case nil:
		return nil // "null", or markers with nothing between them
	case map[string]any:
		d.fields = value
		return nil
	default:
		return fmt.Errorf("%s is not a Kubernetes object but %s: expected a mapping with apiVersion and kind", d.where(), describe(value))
	}
}

// checkEnd returns an error if text follows the value. The YAML parser stops at the end of the first value and ignores the rest. A
// mapping whose keys begin their lines cannot end before the text does, so only other documents are parsed again.
func (d *Document) checkEnd(value any) error {
	at := significant(d.content)
	if value != nil && (at == 0 || d.content[at-1] == '\n') && isWordByte(d.content[at]) {
		return nil
	}
	var ignored any
	decoder := goyaml.NewDecoder(bytes.NewReader(d.content))
	if err := decoder.Decode(&ignored); err != nil {
		return nil //nolint:nilerr // it was parsed before; only what follows matters
	}
	if err := decoder.Decode(&ignored); errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("%s has text after its first value; separate objects with a line \"---\", and indent all fields of an object equally", d.where())
}

func isWordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// place rewrites the parser's line, which counts from the beginning of the document, to the line of the file.
func (d *Document) place(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
	return lineNumber.ReplaceAllStringFunc(text, func(found string) string {
		n, err := strconv.Atoi(found[len("line "):])
		if err != nil {
			return found
		}
		return fmt.Sprintf("line %d", n+d.line-1)
	})
}

func (d *Document) objects() ([]*Object, error) {
	if d.fields == nil {
		return nil, nil
	}
	whole, err := objectOf(d.fields, d.where())
	if err != nil {
		return nil, err
	}
	whole.document = d
	items, isList := d.fields["items"]
	if !isList || !strings.HasSuffix(whole.Kind, "List") {
		return []*Object{whole}, nil
	}
	list, ok := items.([]any)
	if !ok && items != nil {
		return nil, fmt.Errorf("%s (%s): items is %s, expected a list of objects", d.where(), whole.Kind, describe(items))
	}
	var found []*Object
	for i, item := range list {
		place := fmt.Sprintf("document %d, item %d%s", d.number, i+1, d.ofFile())
		fields, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s of the %s is not a Kubernetes object but %s", place, whole.Kind, describe(item))
		}
		o, err := objectOf(withListKind(fields, whole), place)
		if err != nil {
			return nil, fmt.Errorf("%w (the %s was not read)", err, whole.Kind)
		}
		o.fields, o.document = fields, d
		found = append(found, o)
	}
	return found, nil
}

// blank reports whether the text contains only space, comments, and YAML directives.
func blank(text []byte) bool { return significant(text) == len(text) }

// significant returns the offset of the value of a document, after space, comments, directives, and a marker, or the length of the
// text if there is no value.
func significant(text []byte) int {
	at := 0
	for at < len(text) {
		end := len(text)
		if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		line := text[at:end]
		skip := 0
		if at == 0 {
			skip = len(line) - len(bytes.TrimPrefix(line, []byte("\ufeff")))
			if isMarker(line, "---") {
				skip = len("---")
			}
		}
		rest := bytes.TrimLeft(line[skip:], " \t\r\n\v\f")
		if len(rest) > 0 && rest[0] != '#' && line[0] != '%' {
			return end - len(rest)
		}
		at = end
	}
	return len(text)
}
