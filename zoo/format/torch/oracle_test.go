package torch_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/fold"
	"github.com/zoofold/zoofold/zoo/zootest"
	"github.com/zoofold/zoofold/zoo/zootest/oracle"
)

// answer is what PyTorch says of an original and a folded program.
type answer struct {
	Off           float64 // the largest difference of the outputs, relative to the largest output
	Before, After int     // batch normalisations
	Error         string
}

// ask runs pairs of programs in PyTorch.
func ask(t *testing.T, pairs [][2]string) []answer {
	t.Helper()
	var in, stderr bytes.Buffer
	for _, p := range pairs {
		if err := json.NewEncoder(&in).Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(oracle.Torch(t, "torch"), filepath.Join("testdata", "oracle.py"), "judge")
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the oracle: %v\n%s", err, stderr.Bytes())
	}
	answers := make([]answer, len(pairs))
	lines := json.NewDecoder(bytes.NewReader(out))
	for k := range answers {
		if err := lines.Decode(&answers[k]); err != nil {
			t.Fatalf("answer %d: %v", k, err)
		}
	}
	return answers
}

// near is how far apart the outputs of a program and of its folded one may be.
const near = 1e-4

func TestTorch_LoadsAndRunsFoldedPrograms(t *testing.T) {
	oracle.Torch(t, "torch")
	var pairs [][2]string
	for seed := range uint64(100) {
		path, _, err := zootest.Torch(seed, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		_, _, written := foldedAs(t, path, fold.Options{Neutralize: seed%4 == 3})
		pairs = append(pairs, [2]string{path, written})
	}
	gone, worst := 0, 0.0
	for seed, a := range ask(t, pairs) {
		if a.Error != "" || a.Off > near {
			t.Errorf("seed %d: off by %g, %s", seed, a.Off, a.Error)
		}
		gone, worst = gone+a.Before-a.After, max(worst, a.Off)
	}
	t.Logf("%d programs, a quarter of them neutralised, without %d batch normalisations, off by %.0e at most", len(pairs), gone, worst)
	if gone < 3*len(pairs) {
		t.Errorf("only %d batch normalisations are gone", gone)
	}
}

// networks are architectures of timm.
const networks = "resnet18 mobilenetv2_050 efficientnet_b0 test_convnext test_vit densenet121 mobilenetv3_small_050"

func TestTorch_ExportsPredictTheSameWhenFolded(t *testing.T) {
	path := oracle.Torch(t, "torch", "timm")
	names := strings.Fields(networks)
	if more := os.Getenv("TORCH_NETWORKS"); more != "" {
		names = strings.Fields(more)
	}
	folder := t.TempDir()
	if out, err := exec.Command(path, append([]string{filepath.Join("testdata", "oracle.py"), "export", folder}, names...)...).CombinedOutput(); err != nil {
		t.Fatalf("the oracle: %v\n%s", err, out)
	}
	var pairs [][2]string
	for _, name := range names {
		original := filepath.Join(folder, name+".pt2")
		_, _, written := folded(t, original)
		pairs = append(pairs, [2]string{original, written})
	}
	for k, a := range ask(t, pairs) {
		t.Logf("%-40s %3d -> %3d batch normalisations, off by %.0e", names[k], a.Before, a.After, a.Off)
		if a.Error != "" || a.Off > near {
			t.Errorf("%s: off by %g, %s", names[k], a.Off, a.Error)
		}
		if plain := strings.Contains(" resnet18 mobilenetv2_050 efficientnet_b0 mobilenetv3_small_050 ", " "+names[k]+" "); plain && a.After > 0 {
			t.Errorf("%s: %d batch normalisations are left", names[k], a.After)
		}
	}
}

// The state of a folded program is that of the network with an Identity for each batch normalisation and a bias for each
// convolution, by the same names.
func TestTorch_NetworksWithoutNormalisationsLoadTheState(t *testing.T) {
	path := oracle.Torch(t, "torch", "timm")
	folder := t.TempDir()
	if out, err := exec.Command(path, filepath.Join("testdata", "oracle.py"), "export", folder, "resnet18").CombinedOutput(); err != nil {
		t.Fatalf("the oracle: %v\n%s", err, out)
	}
	_, _, written := folded(t, filepath.Join(folder, "resnet18.pt2"))
	out, err := exec.Command(path, filepath.Join("testdata", "oracle.py"), "plain", "resnet18", written).Output()
	if err != nil {
		t.Fatalf("the oracle: %v", err)
	}
	if off, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64); err != nil || off > near {
		t.Errorf("off by %g: %v", off, err)
	}
}
