// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	goyaml "go.yaml.in/yaml/v2"
)

// Writer writes documents in order. Close writes what follows the last one.
type Writer interface {
	Write(*Document) error
	Close() error
}

// NewYAMLWriter returns a Writer that writes unchanged documents as they were read, and changed ones as YAML with sorted keys.
//
// JSON documents without separators at the beginning of a file remain without: a changed document among them is written as JSON,
// because kubectl reads no YAML after two such documents. Elsewhere they are separated, because kubectl ignores a second one in a
// YAML document.
func NewYAMLWriter(out io.Writer) Writer { return &yamlWriter{out: out, newline: true} }

type yamlWriter struct {
	out     io.Writer
	some    bool // a document was written
	newline bool // the last byte was one
	changed bool // the last document was
	json    bool // all that was written is JSON without separators
}

// Write writes a separator before a document that needs one and has none.
func (w *yamlWriter) Write(d *Document) error {
	separator, content := d.separator, d.content
	if d.changed {
		var err error
		if content, err = d.rewritten(); err != nil {
			return fmt.Errorf("%s: %w", d.where(), err)
		}
	}
	if !w.some {
		w.json = d.isJSON && d.file == "" && len(separator) == 0 && bytes.HasPrefix(bytes.TrimSpace(d.content), []byte("{"))
	}
	w.json = w.json && d.isJSON
	afterOther := d.number == 1 || d.changed || w.changed || d.joined
	if w.some && afterOther && !w.json && len(separator) == 0 && !isMarker(content, "---") && len(content) > 0 {
		separator = []byte("---\n")
	}
	w.changed = d.changed
	for _, text := range [][]byte{separator, content} {
		if len(text) == 0 {
			continue
		}
		if !w.newline && !w.json {
			text = append([]byte("\n"), text...)
		}
		if _, err := w.out.Write(text); err != nil {
			return err
		}
		w.some, w.newline = true, bytes.HasSuffix(text, []byte("\n"))
	}
	return nil
}

func (w *yamlWriter) Close() error { return nil }

// rewritten returns the text of a document that was changed.
func (d *Document) rewritten() ([]byte, error) {
	if d.isJSON {
		return encode(d.fields)
	}
	return goyaml.Marshal(yamlValue(d.fields))
}

// yamlValue returns the value with number types of the YAML encoder. Integers stay integers.
func yamlValue(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for key, item := range value {
			out[key] = yamlValue(item)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, item := range value {
			out[i] = yamlValue(item)
		}
		return out
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		var number any
		if err := goyaml.Unmarshal([]byte(value), &number); err != nil {
			return string(value)
		}
		return number
	}
	return value
}

// NewJSONWriter returns a Writer of indented JSON: a single document as it is, and any other number of documents as a List.
func NewJSONWriter(out io.Writer) Writer { return &jsonWriter{out: out} }

type jsonWriter struct {
	out   io.Writer
	items []json.RawMessage
}

// Write omits documents with only space and comments.
func (w *jsonWriter) Write(d *Document) error {
	if d.fields == nil {
		return nil
	}
	raw, err := encode(d.fields)
	w.items = append(w.items, raw)
	return err
}

func (w *jsonWriter) Close() error {
	var whole any = map[string]any{"apiVersion": "v1", "kind": "List", "items": append([]json.RawMessage{}, w.items...)}
	if len(w.items) == 1 {
		whole = w.items[0]
	}
	encoder := json.NewEncoder(w.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	return encoder.Encode(whole)
}
