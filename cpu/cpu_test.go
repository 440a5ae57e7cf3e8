package cpu_test

import (
	"testing"

	"github.com/zoofold/zoofold/cpu"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

func TestOneWorkerPassesTheSuite(t *testing.T) { tensortest.Backend(t, cpu.New(1)) }

func TestThreeWorkersPassTheSuite(t *testing.T) { tensortest.Backend(t, cpu.New(3)) }

func TestLargeTensor(t *testing.T) { tensortest.Large(t, cpu.New(2)) }
