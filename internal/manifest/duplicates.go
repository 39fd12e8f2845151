// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"

	goyaml3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
)

// checkYAMLKeys fails if a mapping of the document has a key twice. Parsers would keep the last value and drop the others.
func (d *Document) checkYAMLKeys() error {
	var root goyaml3.Node
	if goyaml3.Unmarshal(d.content, &root) != nil {
		return nil // the caller reports that it is not YAML
	}
	return d.checkNode(&root)
}

func (d *Document) checkNode(node *goyaml3.Node) error {
	if node.Kind == goyaml3.MappingNode {
		first := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind != goyaml3.ScalarNode {
				continue
			}
			if line, is := first[key.Value]; is {
				return fmt.Errorf("%s has the key %q twice in one mapping: on lines %d and %d", d.where(), key.Value, line+d.line-1, key.Line+d.line-1)
			}
			first[key.Value] = key.Line
		}
	}
	for _, child := range node.Content {
		if err := d.checkNode(child); err != nil {
			return err
		}
	}
	return nil
}

// checkJSONKeys fails if an object of a JSON text has a key twice.
func (d *Document) checkJSONKeys(text []byte) error {
	var ignored any
	strict, err := kjson.UnmarshalStrict(text, &ignored)
	if err != nil || len(strict) == 0 {
		return nil //nolint:nilerr // it was read before
	}
	return fmt.Errorf("%s has a key twice in one object: %w", d.where(), strict[0])
}
