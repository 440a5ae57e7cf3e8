package cpu_test

import (
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

func TestSuite_OneWorker(t *testing.T) { tensortest.Backend(t, cpu.New(1)) }

func TestSuite_ThreeWorkers(t *testing.T) { tensortest.Backend(t, cpu.New(3)) }

func TestRescale_LargeTensor(t *testing.T) { tensortest.Large(t, cpu.New(2)) }
