package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image"
	_ "image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zoofold/zoofold/zoo/report"
)

// chromium opens a page, its address followed by a fragment, and is what it writes. A message on the page's console, an
// error of its script or of its policy, fails the test.
func chromium(t *testing.T, text, fragment string, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("no browser in short tests")
	}
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("no chromium: what the page does in a browser is not tested here")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, append(append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir(),
	}, flags...), "file://"+file+fragment)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			t.Errorf("the page says: %s", line)
		}
	}
	return stdout.String()
}

func TestPage_FragmentOpensARow(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	if dom := chromium(t, page(t, doc), "#m3", "--dump-dom"); !strings.Contains(dom, `<tbody id="m3" data-status="folded" class="open"`) {
		t.Error("#m3 does not open the third row")
	}
}

// act opens a page and is what functions say that act on it one after the other, each on the page as it came. The page's
// own policy would forbid them.
func act(t *testing.T, text string, functions []string) (said []string) {
	t.Helper()
	text = regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAllString(text, "")
	script := `<script>
const go = fragment => { location.hash = fragment; dispatchEvent(new Event("hashchange")); };
const rows = () => [...document.querySelectorAll("#models > tbody:not([hidden]):not(.far)")];
const shown = () => document.querySelector("#shown").textContent;
const said = [() => { ` + strings.Join(functions, " }, () => { ") + ` }].map(f => { go(""); return String(f()); });
document.body.replaceChildren(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(said) }));
</script></html>`
	dom := chromium(t, strings.Replace(text, "</html>", script, 1), "", "--dump-dom")
	_, list, _ := strings.Cut(dom, "<pre>")
	list, _, _ = strings.Cut(list, "</pre>")
	if err := json.Unmarshal([]byte(html.UnescapeString(list)), &said); err != nil || len(said) != len(functions) {
		t.Fatalf("%v: %q", err, list)
	}
	return said
}

func TestPage_AddressSaysWhatIsShown(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	tests := []struct{ fragment, want string }{ // by the rows' places on the page as it came: bad, late, det, plain, same, unproven
		{"", "m1 m2 m3 m4 m5 m6"},
		{"#sort=bytes", "m5 m2 m4 m1 m6 m3"},
		{"#sort=-bytes", "m3 m6 m1 m2 m4 m5"},
		{"#sort=-removed", "m3 m6 m5 m1 m2 m4"},
		{"#sort=-model", "m6 m5 m4 m3 m2 m1"},
		{"#sort=latency", "m3 m1 m2 m4 m5 m6"}, // what was not measured is last, either way
		{"#sort=-latency", "m3 m1 m2 m4 m5 m6"},
		{"#q=border", "m3"},
		{"#q=original+RUN", "m6"},
		{"#q=nothing+has+this", ""},
		{"#status=folded&sort=model", "m3 m6"},
		{"#status=folded&q=det&sort=-bytes", "m3"},
		{"#sort=nonsense&q=onnx", "m1 m2 m3 m4 m5 m6"},
	}
	var functions []string
	for _, test := range tests {
		functions = append(functions, fmt.Sprintf(`go(%q); return rows().map(r => r.id).join(" ")`, test.fragment))
	}
	for k, got := range act(t, page(t, doc), functions) {
		if got != tests[k].want {
			t.Errorf("%q shows %s, want %s", tests[k].fragment, got, tests[k].want)
		}
	}
}

func TestPage_ClicksAndWordsSortAndFilter(t *testing.T) {
	tests := []struct{ name, function, want string }{
		{"a click sorts downwards", `const b = click("bytes", 1); return b.every((x, k) => !k || b[k - 1] >= x) && b[0] > b[9]`, "true"},
		{"two sort upwards", `const b = click("bytes", 2); return b.every((x, k) => !k || b[k - 1] <= x) && b[0] < b[9]`, "true"},
		{"three bring back the page's order", `click("bytes", 3); return rows()[0].id + rows()[499].id`, "m1m500"},
		{"the address remembers", `click("seconds", 1); return location.hash`, "#sort=-seconds"},
		{"every word has to be there", `type("Family-03 border"); return shown() + location.hash`, "7 of 600 models#q=Family-03+border"},
		{"an empty filter says so", `type("nothing-has-this"); const p = document.querySelector("#nothing"), said = p.hidden + p.textContent; p.querySelector("button").click(); return said + rows().length + p.hidden`, "falseNothing matches. Show all models500true"},
		{"a status filters", `document.querySelector("[data-status=failed]").click(); return shown() + location.hash`, "2 of 600 models#status=failed"},
		{"500 rows are shown", `return rows().length + ": " + shown()`, "500: 600 models, the first 500 are shown; show all"},
		{"a click on a row opens it", `const m = document.querySelector("#m9"); m.querySelector("td").click(); return m.querySelector("details").open`, "true"},
		{"all are shown if asked for", `document.querySelector("#shown button").click(); return rows().length + ": " + shown()`, "600: 600 models"},
	}
	functions := []string{`
		globalThis.click = (key, times) => { while (times--) document.querySelector("[data-key=" + key + "] a").click(); return rows().map(r => +r.rows[0].cells[4].dataset.n); };
		globalThis.type = words => { const f = document.querySelector("#filter"); f.value = words; f.dispatchEvent(new Event("input")); };`}
	for _, test := range tests {
		functions = append(functions, test.function)
	}
	for k, got := range act(t, page(t, zooOf(600)), functions)[1:] {
		if got != tests[k].want {
			t.Errorf("%s: %q, want %q", tests[k].name, got, tests[k].want)
		}
	}
}

func TestPage_IsLightOrDarkAsTheSystemIs(t *testing.T) {
	doc := report.NewDocument()
	play(doc)
	text := page(t, doc)
	for _, test := range []struct {
		flag string
		dark bool
	}{{"--blink-settings=preferredColorScheme=1", false}, {"--blink-settings=preferredColorScheme=0", true}} {
		shot := filepath.Join(t.TempDir(), "shot.png")
		chromium(t, text, "", "--window-size=1360,900", test.flag, "--screenshot="+shot)
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		picture, _, err := image.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		corner, _, _, _ := picture.At(2, 2).RGBA()
		if dark := corner < 0x4000; dark != test.dark {
			t.Errorf("%s: the page's corner has brightness %#x", test.flag, corner)
		}
	}
}

func TestPage_Prints(t *testing.T) {
	out := filepath.Join(t.TempDir(), "report.pdf")
	chromium(t, page(t, zooOf(30)), "", "--no-pdf-header-footer", "--print-to-pdf="+out)
	if text, err := os.ReadFile(out); err != nil || !bytes.HasPrefix(text, []byte("%PDF-")) {
		t.Errorf("%v, %.20q", err, text)
	}
}
