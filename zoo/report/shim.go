package report

type Named struct {
	Name string
	Check
}

func (m *Model) Checks() []Named {
	return []Named{{"parity", m.Parity}, {"algebra", m.Algebra}, {"predictions", m.Predictions}}
}
func (m *Model) Lacks() bool {
	if m.Status != Folded && m.Status != Unchanged {
		return false
	}
	for _, c := range m.Checks() {
		if c.Status == NotRun && c.Note != NotAsked {
			return true
		}
	}
	return false
}
