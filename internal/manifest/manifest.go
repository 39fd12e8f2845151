// Package manifest reads and writes Kubernetes YAML, a stream of documents and Lists, and finds the pod template in a
// workload. What nobody replaces is written as it was read, byte for byte.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Stream is the content of one file: YAML documents, some of which hold Kubernetes objects.
type Stream struct {
	documents []*document
	objects   []*Object
}

// Object is one Kubernetes object of a stream: a document of its own or an item of a List.
type Object struct {
	APIVersion string // "apps/v1"
	Kind       string
	Namespace  string // empty if the object does not say
	Name       string // empty if it has only a generateName
	// Where is its place in the stream, "document 2" or "document 2, item 3", counted from 1.
	Where string

	fields   map[string]any
	document *document
}

// document is one YAML document with the separator line in front of it.
type document struct {
	number    int
	line      int // of the file, counted from 1, where the content begins
	separator []byte
	content   []byte
	fields    map[string]any // nil if there is nothing but space and comments
	changed   bool
}

// Read reads a whole stream. It fails if a document is not YAML, or not a Kubernetes object, or if an item of a List
// is not one; the error says which. Documents that hold only comments are kept, and are no objects.
func Read(r io.Reader) (*Stream, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s := &Stream{documents: split(text)}
	for _, d := range s.documents {
		if err := d.parse(); err != nil {
			return nil, err
		}
		found, err := d.objects()
		if err != nil {
			return nil, err
		}
		s.objects = append(s.objects, found...)
	}
	return s, nil
}

// Objects returns all objects in the order of the stream, a List's items in place of the List.
func (s *Stream) Objects() []*Object { return s.objects }

// String returns kind and name as kubectl prints them, with the place: "Deployment demo/web (document 2)".
func (o *Object) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return strings.TrimSpace(o.Kind+" "+name) + " (" + o.Where + ")"
}

// JSON returns the object as it stands, fields that no type knows included.
func (o *Object) JSON() ([]byte, error) { return encode(o.fields) }

// YAML writes the stream: untouched documents as they were read, others anew with sorted keys.
func (s *Stream) YAML() ([]byte, error) {
	var out bytes.Buffer
	for i, d := range s.documents {
		separator, content := d.separator, d.content
		if d.changed {
			raw, err := encode(d.fields)
			if err != nil {
				return nil, fmt.Errorf("document %d: %w", d.number, err)
			}
			if content, err = yaml.JSONToYAML(raw); err != nil {
				return nil, fmt.Errorf("document %d: %w", d.number, err)
			}
		}
		if (d.changed || i > 0 && s.documents[i-1].changed) && i > 0 && len(separator) == 0 && !isMarker(content, "---") {
			separator = []byte("---\n")
		}
		if len(separator) > 0 && out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteByte('\n')
		}
		out.Write(separator)
		out.Write(content)
	}
	return out.Bytes(), nil
}

// IndentedJSON writes the objects of the stream: one alone as it is, several as a List.
func (s *Stream) IndentedJSON() ([]byte, error) {
	var whole []any
	for _, d := range s.documents {
		if d.fields != nil {
			whole = append(whole, d.fields)
		}
	}
	if len(whole) == 1 {
		return indented(whole[0])
	}
	if whole == nil {
		whole = []any{}
	}
	return indented(map[string]any{"apiVersion": "v1", "kind": "List", "items": whole})
}

// split cuts the text at its document markers. A marker begins the document that follows it; "..." ends one.
func split(text []byte) []*document {
	documents := []*document{{number: 1, line: 1}}
	line := 0
	ended := false
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			end = len(text)
		}
		current := text[:end]
		text = text[end:]
		line++
		d := documents[len(documents)-1]
		marker := isMarker(current, "---")
		switch {
		case marker && len(d.separator) == 0 && len(documents) == 1 && blank(d.content):
			d.separator = append(append(d.separator, d.content...), current...)
			d.content, d.line = nil, line+1
			keepInline(d, current, line)
		case marker:
			d = &document{number: d.number + 1, line: line + 1, separator: bytes.Clone(current)}
			documents = append(documents, d)
			keepInline(d, current, line)
		case ended && !blank(current):
			documents = append(documents, &document{number: d.number + 1, line: line, content: bytes.Clone(current)})
		default:
			d.content = append(d.content, current...)
		}
		ended = isMarker(current, "...") || ended && blank(current)
	}
	return documents
}

// keepInline handles "--- {a: b}": what stands behind the marker belongs to the document.
func keepInline(d *document, marker []byte, line int) {
	rest := strings.TrimSpace(string(marker[3:]))
	if rest == "" || strings.HasPrefix(rest, "#") {
		return
	}
	d.separator, d.content, d.line = nil, bytes.Clone(marker), line
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r' || rest[0] == ' ' || rest[0] == '\t')
}

// blank says whether the text holds nothing but space, comments and YAML directives.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		directive := line[0] == '%'
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !directive {
			return false
		}
	}
	return true
}

func (d *document) parse() error {
	if blank(d.content) {
		return nil
	}
	raw, err := yaml.YAMLToJSON(d.content)
	if err != nil {
		return fmt.Errorf("document %d is not YAML: %s", d.number, d.place(err))
	}
	value, err := decode(raw)
	if err != nil {
		return fmt.Errorf("document %d is not YAML that JSON can express: %w", d.number, err)
	}
	switch value := value.(type) {
	case nil:
		return nil // "null", or markers with nothing between them
	case map[string]any:
		d.fields = value
		return nil
	default:
		return fmt.Errorf("document %d is not a Kubernetes object but %s: expected a mapping with apiVersion and kind", d.number, describe(value))
	}
}

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// place rewrites the parser's line, which counts from the beginning of the document, to the line of the file.
func (d *document) place(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
	return lineNumber.ReplaceAllStringFunc(text, func(found string) string {
		n, err := strconv.Atoi(found[len("line "):])
		if err != nil {
			return found
		}
		return fmt.Sprintf("line %d", n+d.line-1)
	})
}

func (d *document) objects() ([]*Object, error) {
	if d.fields == nil {
		return nil, nil
	}
	where := fmt.Sprintf("document %d", d.number)
	whole, err := objectOf(d.fields, where)
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
		return nil, fmt.Errorf("%s (%s): items is %s, expected a list of objects", where, whole.Kind, describe(items))
	}
	var found []*Object
	for i, item := range list {
		place := fmt.Sprintf("%s, item %d", where, i+1)
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

// withListKind completes an item of a typed list, such as a DeploymentList, whose items need not repeat their kind.
func withListKind(fields map[string]any, list *Object) map[string]any {
	if list.Kind == "List" || fields["kind"] != nil || fields["apiVersion"] != nil {
		return fields
	}
	return map[string]any{"apiVersion": list.APIVersion, "kind": strings.TrimSuffix(list.Kind, "List"), "metadata": fields["metadata"]}
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

// decode keeps numbers as they are written, so that nothing is rounded on the way through.
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

func indented(value any) ([]byte, error) {
	raw, err := encode(value)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, raw, "", "    ")
	return out.Bytes(), err
}
