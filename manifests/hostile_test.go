package manifests_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/manifests"
)

// units are what a hostile manifest repeats, within what stands around it.
var units = []struct{ before, unit, after string }{
	{"", "[", ""}, {"", "{", ""}, {"", "]", ""}, {"", "}", ""}, {"", "[]", ""}, {"", "[ ", ""}, {"", "{a: ", ""}, {"", "[{", ""}, {"[", ",", ""}, {"a: [", "a, ", "]"}, {"a: {", "b, ", "}"},
	{"", "- ", ""}, {"", "-\n", ""}, {"", "- - a\n", ""}, {"", "-", ""}, {"[", "- ", ""}, {"", "- a\n", ""}, {"", "- []\n", ""}, {"", "- {}\n", ""}, {"", "- a: b\n", ""}, {"", "- 'a'\n", ""}, {"", "- \"a\"\n", ""}, {"", "- |\n a\n", ""}, {"", "- >\n\n\n", ""}, {"", "- # b\n", ""}, {"", "- a # b\n", ""},
	{"", "a: ", ""}, {"", "a:\n", ""}, {"", "a:", ""}, {"", ":", ""}, {"", ": ", ""}, {"", ": a\n", ""}, {"", "a: b\n", ""}, {"", "? ", ""}, {"", "?\n", ""}, {"", "? a\n", ""}, {"[", "? ", ""},
	{"", "&a ", ""}, {"", "&", ""}, {"", "- &x b\n", ""}, {"", "*a ", ""}, {"", "*a\n", ""}, {"", "*", ""}, {"- &x b\n", "- *x\n", ""}, {"", "!!x ", ""}, {"", "!", ""}, {"", "- !!str b\n", ""}, {"", "<", ""}, {"", "<<: ", ""}, {"", "<<: a\n", ""}, {"", "<< ", ""},
	{"", "\"", ""}, {"", "'", ""}, {"\"", "a", "\""}, {"\"", "a\n", ""}, {"'", "a\n", ""}, {"\"", "\\x41", "\""}, {"\"", "\\\n", "\""}, {"\"", "\n", "\""}, {"'", "\n", "'"}, {"'", "''", "'"}, {"\"", "\t", "\""}, {"\"", "\t\n", "\""}, {"\"", " ", "\""}, {"\"", "a \n", "\""},
	{"", "|\n", ""}, {"", "|", ""}, {"", ">", ""}, {"a: |\n", "  b\n", ""}, {"a: >\n", "  b\n", ""}, {"a: >\n", "  b\n   c\n", ""}, {"a: |\n  ", "b", ""}, {"a: |9\n", "  b\n", ""}, {"a: |\n b\n", "\n", ""}, {"a: |\n b\n", "   \n", ""}, {"a: |\n b\n", "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n c\n", ""}, {"a: |-\n b\n", "\n", ""}, {"a: |+\n b\n", "\n", ""}, {"a: |\n b\n", "\r", ""}, {"a: |\n b\n", " c\n\n", ""},
	{"", "\t", ""}, {"", "\t\n", ""}, {"a:", "\t", ""}, {"", "a", ""}, {"", "a ", ""}, {"", "a\n", ""}, {"", "a \n", ""}, {"a: b\n", " b\n", ""}, {"a: b\n", " - b\n", ""}, {"a: b\n", "\n", " c\n"}, {"", "a", ": b"}, {"", "\n", ""}, {"", "\r", ""}, {"", "\r\n", ""}, {"", " ", ""}, {"", " \n", ""},
	{"", "#", ""}, {"", "#\n", ""}, {"", " # x\n", ""}, {"a: [", "#\n", "]"}, {"", "a # b\n", ""}, {"a: [\n", " a, # b\n", "]"}, {"", "# \\\n", ""},
	{"", "---\n", ""}, {"", "---\na\n", ""}, {"", "--- a\n", ""}, {"", "...\n", ""}, {"", "a\n...\n", ""}, {"", "%a\n", ""}, {"", "%", ""}, {"", "% ", ""}, {"", "@", ""}, {"", "`", ""}, {"", "@\n", ""}, {"", ",", ""},
	{"", "\x00", ""}, {"", "\xff", ""}, {"", "\ufeff", ""}, {"", "\u2028", ""}, {"", "\u0085", ""}, {"", "😀", ""}, {"", "1", ""}, {"", "1_", ""}, {"0x", "f", ""}, {"", "1.", ""}, {"", "{}", ""}, {"", "{} ", ""}, {"a: [", "a\n", "]"}, {"a: [", "a,\n", "]"}, {"a: {", "'':,", "}"}, {"a: {", ":", "}"}, {"a: {", "a:/", "}"},
	{"version: 1\nzoo: zoo\nout: out\nmodels:\n", "  - match: '**/*.onnx'\n    exclude: ['x/**', \"y\"]\n    verify: [parity]\n    darknet: {epsilon: opencv}\n", ""},
	{"version: 1\nzoo: zoo\nout: out\nmodels:\n", "- match: a\n", ""}, {"version: 1\nzoo: zoo\nout: out\nmodels:\n- match: [", "'**/**/**/**/**/**/**/**/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}', ", "]"}, {"version: 1\nzoo: zoo\nout: out\nmodels:\n", "- x: a\n", ""}, {"version: 1\nzoo: zoo\nout: out\nmodels:\n", "- {match: a, verify: x, timeout: y}\n", ""},
	{"models:\n- match: \"", "{a,", "\""}, {"models:\n- match: \"", "{", "\""}, {"models:\n- match: ", "{a,b}", ""}, {"models:\n- match: a", "/**", ""}, {"models:\n- match: \"", "[", "\""}, {"models:\n- output: \"", "{", "\""},
}

// hostile are manifests of about size bytes, by what they repeat.
func hostile(size int) map[string]string {
	texts := map[string]string{}
	for _, u := range units {
		n := size / len(u.unit)
		texts[fmt.Sprintf("%q", u.before+u.unit+"..."+u.after)] = u.before + strings.Repeat(u.unit, n) + u.after
		// The same, in lines that are not too long.
		line := strings.Repeat(u.unit, max(1, 16000/len(u.unit)))
		if !strings.Contains(u.unit, "\n") {
			texts[fmt.Sprintf("%q in lines", u.before+u.unit+"..."+u.after)] = u.before + strings.Repeat(line+"\n ", size/len(line)) + u.after
		}
	}
	made := map[string]func(k int) string{
		"deep mappings":   func(k int) string { return strings.Repeat(" ", k) + "a:\n" },
		"deep lists":      func(k int) string { return strings.Repeat(" ", k) + "-\n" },
		"30 levels":       func(k int) string { return strings.Repeat(" ", k%30) + "a" + fmt.Sprint(k) + ":\n" },
		"stairs of lists": func(k int) string { return strings.Repeat(" ", k%30) + "- a\n" },
		"keys":            func(k int) string { return fmt.Sprintf("%x: v\n", k) },
		"empty keys":      func(k int) string { return fmt.Sprintf("%x:\n", k) },
		"quoted keys":     func(k int) string { return fmt.Sprintf("'%x': v\n", k) },
		"rules of keys":   func(k int) string { return fmt.Sprintf("%s %x: v\n", []string{"-", " "}[min(1, k%60)], k) },
	}
	for name, line := range made {
		var b strings.Builder
		for k := 0; b.Len() < size; k++ {
			b.WriteString(line(k))
		}
		texts[name] = b.String()
	}
	var flow, deep strings.Builder
	flow.WriteString("a: {")
	for k := 0; flow.Len() < size; k++ {
		fmt.Fprintf(&flow, "k%d: v, \n", k)
	}
	texts["keys in braces"] = flow.String() + "}"
	for k := range 30 {
		deep.WriteString(strings.Repeat(" ", k) + strings.Repeat("k", 64) + ":\n")
	}
	texts["values below long keys"] = deep.String() + strings.Repeat(" ", 31) + "[" + strings.Repeat("a,\n"+strings.Repeat(" ", 32), size/35) + "]\n"
	texts["close values below long keys"] = deep.String() + strings.Repeat(" ", 31) + "[" + strings.Repeat(strings.Repeat("a,", 8000)+"\n"+strings.Repeat(" ", 32), size/16032) + "]\n"
	texts["a list below long keys"] = deep.String() + strings.Repeat(strings.Repeat(" ", 30)+"-\n", size/32)
	return texts
}

func TestParse_TakesBoundedTimeAndMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute in the race detector")
	}
	for _, size := range []int{250 << 10, 1 << 20} { // what is read, and more than that
		for name, text := range hostile(size) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := manifests.Parse("models.yaml", []byte(text))
			message := ""
			if err != nil {
				message = err.Error()
			}
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			bytes := (after.TotalAlloc - before.TotalAlloc) >> 20
			if testing.Verbose() && (bytes > 100 || took > 300*time.Millisecond) {
				t.Logf("%s of %d bytes: %v, %d MiB: %.80s", name, size, took, bytes, message)
			}
			if bytes > 512 { // what takes time takes memory here: time itself depends on the machine
				t.Errorf("%s of %d bytes: %v, %d MiB", name, size, took, bytes)
			}
			if err != nil && !errors.Is(err, manifests.ErrManifest) {
				t.Errorf("%s: %v is no ErrManifest", name, err)
			}
			if len(message) > 64<<10 {
				t.Errorf("%s: an error of %d bytes", name, len(message))
			}
		}
	}
}
