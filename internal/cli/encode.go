// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"
)

// encoderFor returns the encoder of -o json, yaml, jsonpath=… or go-template=…; nil for text. others are further formats of the command.
func encoderFor(output string, others ...string) (func(any) ([]byte, error), error) {
	switch output {
	case "", "wide":
		return nil, nil
	case "json":
		return func(data any) ([]byte, error) {
			text, err := json.MarshalIndent(data, "", "  ")
			return append(text, '\n'), err
		}, nil
	case "yaml":
		return yaml.Marshal, nil
	}
	printer, err := genericclioptions.NewKubeTemplatePrintFlags().ToPrinter(output)
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		formats := append([]string{"wide", "json", "yaml"}, others...)
		return nil, usagef("-o %q is not a format%s Formats: %s, jsonpath=TEMPLATE, go-template=TEMPLATE", output, didYouMean(output, formats...), strings.Join(formats, ", "))
	}
	if err != nil {
		return nil, usagef("-o %s: %v", output, err)
	}
	return func(data any) ([]byte, error) {
		fields, err := asFields(data)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		err = printer.PrintObj(&unstructured.Unstructured{Object: fields}, &out)
		return out.Bytes(), err
	}, nil
}

// writeEncoded writes data in the format of -o.
func writeEncoded(out io.Writer, encode func(any) ([]byte, error), data any) error {
	text, err := encode(data)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// asFields returns the data as a template sees it: what -o json prints, and a list as the items of an object.
func asFields(data any) (map[string]any, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	if fields, is := value.(map[string]any); is {
		return fields, nil
	}
	return map[string]any{"items": value}, nil
}
