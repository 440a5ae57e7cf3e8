package outcome

// Tee sends every event to each of several sinks, in order.
type Tee []Sink

// Err is the first error of a Fallible sink among them, or nil.
func (t Tee) Err() error {
	for _, s := range t {
		if o, ok := s.(Fallible); ok && o.Err() != nil {
			return o.Err()
		}
	}
	return nil
}

// Start goes to each.
func (t Tee) Start(e Start) {
	for _, s := range t {
		s.Start(e)
	}
}

// Begin goes to each.
func (t Tee) Begin(e Begin) {
	for _, s := range t {
		s.Begin(e)
	}
}

// Progress goes to each.
func (t Tee) Progress(n int64) {
	for _, s := range t {
		s.Progress(n)
	}
}

// Done goes to each.
func (t Tee) Done(e Model) {
	for _, s := range t {
		s.Done(e)
	}
}

// End goes to each.
func (t Tee) End(e End) {
	for _, s := range t {
		s.End(e)
	}
}
