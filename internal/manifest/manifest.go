// SPDX-License-Identifier: Apache-2.0

// Package manifest reads and writes Kubernetes YAML and JSON, document by document, and finds the pod template in a
// workload. NewReader returns the documents of a file, Document.Objects their objects, and a Writer writes the
// documents. A document without a replaced template is written as it was read, byte for byte. Read is for small input.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Object is one Kubernetes object of a stream: a document or an item of a List.
type Object struct {
	APIVersion string // "apps/v1"
	Kind       string
	Namespace  string // empty if the object names none
	Name       string // empty if it has only a generateName
	// Where is its position in the input, "document 2" or "document 2, item 3", counted from 1. The file follows if there
	// are several: "document 2 of web.yaml".
	Where string

	fields   map[string]any
	document *Document
}

// String returns kind and name, with the position: "Deployment demo/web (document 2)".
func (o *Object) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return strings.TrimSpace(o.Kind+" "+name) + " (" + o.Where + ")"
}

// JSON returns the current object, including fields that no Go type has.
func (o *Object) JSON() ([]byte, error) { return encode(o.fields) }

// withListKind completes an item of a typed list, such as a DeploymentList, whose items need not repeat their kind.
func withListKind(fields map[string]any, list *Object) map[string]any {
	if list.Kind == "List" || fields["kind"] != nil || fields["apiVersion"] != nil {
		return fields
	}
	return map[string]any{"apiVersion": list.APIVersion, "kind": strings.TrimSuffix(list.Kind, "List"), "metadata": fields["metadata"]}
}

// FromJSON returns a document with the object of a JSON text. A Writer encodes it as it does a changed document.
func FromJSON(raw []byte) (*Document, error) {
	d := &Document{number: 1, isRead: true, changed: true}
	value, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return d, d.take(value)
}

func objectOf(fields map[string]any, where string) (*Object, error) {
	o := &Object{Where: where, fields: fields}
	metadata, isMap := fields["metadata"].(map[string]any)
	var faults []error
	if fields["metadata"] != nil && !isMap {
		faults = append(faults, fmt.Errorf("metadata is %s, expected a mapping", describe(fields["metadata"])))
	}
	read := func(from map[string]any, key, path string, into *string) {
		value, given := from[key]
		text, isText := value.(string)
		if given && value != nil && !isText {
			faults = append(faults, fmt.Errorf("%s is %s, expected text; write it in quotes", path, describe(value)))
		}
		*into = text
	}
	read(fields, "apiVersion", "apiVersion", &o.APIVersion)
	read(fields, "kind", "kind", &o.Kind)
	read(metadata, "name", "metadata.name", &o.Name)
	read(metadata, "namespace", "metadata.namespace", &o.Namespace)
	if len(faults) == 0 && o.Kind == "" {
		faults = append(faults, errors.New("it has no kind"))
	}
	if len(faults) == 0 && o.APIVersion == "" {
		faults = append(faults, errors.New("it has no apiVersion"))
	}
	if len(faults) == 0 {
		return o, nil
	}
	subject := where
	if o.Kind != "" || o.Name != "" {
		subject = where + " (" + strings.TrimSpace(o.Kind+" "+o.Name) + ")"
	}
	return nil, fmt.Errorf("%s is not a Kubernetes object: %w", subject, faults[0])
}

func describe(value any) string {
	switch value := value.(type) {
	case nil:
		return "empty"
	case string:
		if len(value) > 40 {
			value = value[:40] + "…"
		}
		return fmt.Sprintf("the text %q", value)
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return fmt.Sprintf("the value %v", value)
	}
}

// decode keeps the text of numbers, so that none is rounded.
func decode(raw []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	return value, decoder.Decode(&value)
}

func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return out.Bytes(), err
}
