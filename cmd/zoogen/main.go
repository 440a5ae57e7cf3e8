// Command zoogen writes a zoo of generated models: networks with random weights from fixed seeds, the same files every
// time. They are small ONNX models, or one network of each other format.
//
//	zoogen -count 20 FOLDER
//	zoogen -networks FOLDER
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
	networks := flag.Bool("networks", false, "networks of the other formats instead, in caffe, darknet, keras and torch below FOLDER")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: zoogen [-networks] [-count n] [-width n] [-depth n] FOLDER")
		os.Exit(2)
	}
	write := func() ([]string, error) { return zootest.Write(flag.Arg(0), *count, *width, *depth) }
	if *networks {
		write = func() ([]string, error) { return zootest.WriteNetworks(flag.Arg(0)) }
	}
	paths, err := write()
	if err != nil {
		fmt.Fprintf(os.Stderr, "zoogen: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%d models in %s\n", len(paths), flag.Arg(0))
}
