// Command zoogen writes a zoo of generated ONNX models: small networks with random weights from fixed seeds, the same
// files every time.
//
//	zoogen -count 20 FOLDER
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/zoofold/zoofold/zoo/zootest"
)

func main() {
	count := flag.Int("count", 10, "how many models")
	width := flag.Int64("width", 32, "channels")
	depth := flag.Int64("depth", 6, "blocks")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: zoogen [-count n] [-width n] [-depth n] FOLDER")
		os.Exit(2)
	}
	paths, err := zootest.Write(flag.Arg(0), *count, *width, *depth)
	if err != nil {
		fmt.Fprintf(os.Stderr, "zoogen: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%d models in %s\n", len(paths), flag.Arg(0))
}
