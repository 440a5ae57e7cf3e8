package state_test

import (
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/onnx"
	_ "github.com/zoofold/zoofold/zoo/format/torch"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuiteAlongPrograms(t *testing.T) {
	t.Chdir("testdata/program")
	formattest.Suite{Generate: zootest.AlongProgram, Seeds: 40, Damages: 160}.Run(t)
}

func TestSuiteAlongONNXModels(t *testing.T) {
	t.Chdir("testdata/onnx")
	formattest.Suite{Generate: zootest.AlongONNX, Seeds: 20, Damages: 160}.Run(t)
}
