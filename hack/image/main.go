// Command image builds Outrigger's container image as an OCI layout, for every platform, without a base image and without
// a container engine. The same commit gives the same bytes on every machine.
//
// What is in it beside the binary: the certificates of public authorities, a passwd and a group file with the user that
// it runs as, that user's home, an empty /tmp, and the licences of all that is compiled in. Beside each image the layout
// holds its bill of materials in CycloneDX, an artifact whose subject is the image.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("o", filepath.Join("bin", "image"), "folder of the layout; what an earlier run left there is replaced")
	version := flag.String("version", "unknown", "version that the binary and the image name")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "for which platforms")
	root := flag.String("root", filepath.Join("..", ".."), "folder of the repository")
	flag.Parse()

	created, err := commitTime(ctx, *root)
	if err != nil {
		return err
	}
	recipe := Recipe{Root: *root, Package: "./cmd/outrigger", Version: *version, Created: created, Stamp: true}
	for _, name := range strings.Split(*platforms, ",") {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return err
		}
		recipe.Platforms = append(recipe.Platforms, *platform)
	}
	digest, err := recipe.Write(ctx, *out)
	if err != nil {
		return err
	}
	fmt.Printf("%s is an OCI layout of %s, version %s: %s\n", *out, *platforms, *version, digest)
	return nil
}
