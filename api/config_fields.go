// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// FieldDoc is the documentation of one field of the configuration file.
type FieldDoc struct {
	Path    string   // "istio.namespace"
	Type    string   // "text", "whole number", "true or false", "duration", "list of text", "map of text"
	Default string   // as a user would write it; `""` for empty text
	Values  []string // the closed set, if it is one
	Doc     string   // one or two sentences
}

// Fields returns the documentation of every field of the configuration file, in the order of the type.
func (c Config) Fields() []FieldDoc { return fieldDocs(reflect.ValueOf(c), "") }

func fieldDocs(value reflect.Value, prefix string) []FieldDoc {
	var out []FieldDoc
	for i := range value.NumField() {
		field, current := value.Type().Field(i), value.Field(i)
		path := prefix + field.Tag.Get("json")
		if current.Kind() == reflect.Struct {
			out = append(out, fieldDocs(current, path+".")...)
			continue
		}
		out = append(out, FieldDoc{Path: path, Type: typeName(current), Default: written(current), Values: closedSet(field), Doc: field.Tag.Get("doc")})
	}
	return out
}

func closedSet(field reflect.StructField) []string {
	values, has := field.Tag.Lookup("oneOf")
	if !has {
		return nil
	}
	return strings.Split(values, ",")
}

func typeName(value reflect.Value) string {
	switch {
	case value.Type() == durationType:
		return "duration"
	case value.Kind() == reflect.Bool:
		return "true or false"
	case value.Kind() == reflect.Int:
		return "whole number"
	case value.Kind() == reflect.Slice:
		return "list of text"
	case value.Kind() == reflect.Map:
		return "map of text"
	}
	return "text"
}

// written returns a value as a user would write it.
func written(value reflect.Value) string {
	switch {
	case value.Type() == durationType:
		return ShortDuration(time.Duration(value.Int()))
	case value.Kind() == reflect.Slice && value.Len() == 0:
		return "[]"
	case value.Kind() == reflect.Map && value.Len() == 0:
		return "{}"
	case value.Kind() == reflect.String && (value.Len() == 0 || !plainText.MatchString(value.String())):
		return strconv.Quote(value.String())
	}
	return fmt.Sprint(value.Interface())
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	plainText    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9./-]*$`)
)

// ShortDuration prints 24h0m0s as 24h and 5m0s as 5m.
func ShortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
