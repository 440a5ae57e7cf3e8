package figures

import (
	"fmt"
	"io"
	"strings"
)

// columns are those of a table of figures, in their order. One that is empty in every row is left out.
var columns = []struct {
	name string
	of   func(Figure) string
}{
	{"what", func(f Figure) string { return f.What }},
	{"where", func(f Figure) string { return f.Where }},
	{"type", func(f Figure) string { return f.Type }},
	{"channels", func(f Figure) string { return f.Axis }},
	{"size", func(f Figure) string { return size(f.Bytes) }},
	{"chunk", func(f Figure) string { return size(f.Chunk) }},
	{"-j", func(f Figure) string { return number("%.0f", float64(f.Jobs)) }},
	{"seconds", func(f Figure) string { return number("%.4g", f.Seconds) }},
	{"processor s", func(f Figure) string { return number("%.4g", f.CPU) }},
	{"GB/s", func(f Figure) string { return number("%.3g", f.Rate) }},
	{"ratio", func(f Figure) string { return number("%.2f", f.Ratio) }},
	{"of", func(f Figure) string { return f.Of }},
	{"rounds", func(f Figure) string { return number("%.0f", float64(f.Rounds)) }},
}

func number(format string, x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf(format, x)
}

// size is a number of bytes in the largest unit that divides it, or rounded where none of them does.
func size(bytes int64) string {
	for k, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*k); bytes >= one {
			if bytes%one == 0 {
				return fmt.Sprintf("%d %s", bytes/one, unit)
			}
			return fmt.Sprintf("%.1f %s", float64(bytes)/float64(one), unit)
		}
	}
	return number("%.0f B", float64(bytes))
}

// Markdown writes the report as a page: the machine, the steps, and a table for each kind of figure.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	name := r.Device.Name
	if r.NoDevice != "" {
		name = "no device: " + r.NoDevice
	}
	fmt.Fprintf(&b, "# %s\n\nzoofold %s, %s", name, r.Version, r.Time.UTC().Format("2006-01-02 15:04 UTC"))
	if r.Small {
		b.WriteString(", sizes for the emulator: **no figure on this page says anything of a GPU**")
	}
	d, m := r.Device, r.Machine
	fmt.Fprintf(&b, "\n\n- machine: %s, %d cores, %s of memory, %s\n", m.Processor, m.Cores, size(m.Memory), m.System)
	if r.NoDevice == "" {
		fmt.Fprintf(&b, "- device: driver %s, compute capability %s, %d multiprocessors, %s of memory", d.Driver, d.Capability, d.Processors, size(d.Memory))
		if d.Bandwidth() > 0 {
			fmt.Fprintf(&b, " of %.0f GB/s by its clock and bus", d.Bandwidth())
		}
		fmt.Fprintf(&b, ", %d copy engines, PCI %s\n", d.CopyEngines, d.PCI)
		if m.Link != "" {
			fmt.Fprintf(&b, "- link: %s\n", m.Link)
		}
	}
	b.WriteString("\n| step | result | seconds | |\n|---|---|---:|---|\n")
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "| %s | %s | %.1f | %s |\n", s.Name, s.Result, s.Seconds, cell(s.Said))
	}
	if len(r.Targets) > 0 {
		b.WriteString("\n| what a card should reach | |\n|---|---|\n")
	}
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "| %s | %s |\n", t.What, t)
	}
	if len(r.Advice) > 0 {
		fmt.Fprintf(&b, "\nBy the sweep:\n\n- %s\n", strings.Join(r.Advice, "\n- "))
	}
	for at := 0; at < len(r.Figures); {
		end := at
		for end < len(r.Figures) && r.Figures[end].group() == r.Figures[at].group() {
			end++
		}
		fmt.Fprintf(&b, "\n## %s\n\n", r.Figures[at].group())
		table(&b, r.Figures[at:end])
		at = end
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// group is the first word of what was measured.
func (f Figure) group() string {
	first, _, _ := strings.Cut(f.What, " ")
	return strings.TrimSuffix(first, ":")
}

func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

func table(b *strings.Builder, list []Figure) {
	var head, rule strings.Builder
	used := make([]bool, len(columns))
	for k, c := range columns {
		for _, f := range list {
			used[k] = used[k] || c.of(f) != ""
		}
		if used[k] {
			head.WriteString("| " + c.name + " ")
			rule.WriteString("|---")
		}
	}
	fmt.Fprintf(b, "%s|\n%s|\n", head.String(), rule.String())
	for _, f := range list {
		for k, c := range columns {
			if used[k] {
				b.WriteString("| " + cell(c.of(f)) + " ")
			}
		}
		b.WriteString("|\n")
	}
}

// Summary writes the steps in a few lines, for a terminal.
func (r *Report) Summary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-34s %-8s %8s  %s\n", "step", "result", "seconds", "")
	for _, s := range r.Steps {
		said := []rune(strings.ReplaceAll(s.Said, "\n", " "))
		if len(said) > 100 {
			said = append(said[:99], '…')
		}
		fmt.Fprintf(&b, "%-34s %-8s %8.1f  %s\n", s.Name, s.Result, s.Seconds, string(said))
	}
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "%s: %s\n", t.What, t)
	}
	for _, line := range r.Advice {
		fmt.Fprintln(&b, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
