package hdf5

// The messages of object headers that are read (IV.A.2).
const (
	messageDataspace     = 0x01
	messageLinkInfo      = 0x02
	messageDatatype      = 0x03
	messageFillOld       = 0x04
	messageFill          = 0x05
	messageLink          = 0x06
	messageExternal      = 0x07
	messageLayout        = 0x08
	messageGroupInfo     = 0x0a
	messageFilters       = 0x0b
	messageAttribute     = 0x0c
	messageContinuation  = 0x10
	messageSymbols       = 0x11
	messageAttributeInfo = 0x15
)

// Flags of messages.
const (
	flagShared   = 0x02 // the message lies elsewhere
	flagRequired = 0x80 // a reader that does not know the message must not read the object
)

// message is one message of an object header.
type message struct {
	kind  uint16
	flags byte
	*cursor
}

// header reads the messages of the object header at that address (IV.A.1), and follows continuation messages.
func (f *file) header(at int64) ([]message, error) {
	c, err := f.block(at, min(minRead, max(f.size-at, 0)))
	if err != nil {
		return nil, err
	}
	h := headerReader{file: f}
	switch {
	case string(c.b[:min(4, len(c.b))]) == "OHDR":
		h.two = true
		err = h.first2(c)
	case len(c.b) > 0 && c.b[0] == 1:
		c.skip(8)
		size := c.u32()
		if err = c.err("object header"); err == nil {
			err = h.chunk(span{at + 16, int64(size)})
		}
	default:
		err = corrupt(at, "no object header")
	}
	for k := 0; err == nil && k < len(h.more); k++ {
		err = h.chunk(h.more[k])
	}
	return h.messages, err
}

type headerReader struct {
	*file
	two      bool // version 2
	ordered  bool // messages carry the order in which they were made
	messages []message
	more     []span
}

// first2 reads the first chunk of a version 2 header, of which c is the beginning.
func (h *headerReader) first2(c *cursor) error {
	c.magic("OHDR")
	c.version(2)
	flags := c.u8()
	h.ordered = flags&0x04 != 0
	if flags&0x20 != 0 {
		c.skip(16) // times
	}
	if flags&0x10 != 0 {
		c.skip(4) // when attributes move to a heap
	}
	size := c.uint(1 << (flags & 3))
	if err := c.err("object header"); err != nil {
		return err
	}
	if size > uint64(h.size) {
		return corrupt(c.pos(), "an object header of %d bytes", size)
	}
	whole, err := h.block(c.at, int64(c.off)+int64(size)+4)
	if err != nil {
		return err
	}
	return h.checked(whole, c.off)
}

// checked reads the messages of a chunk of a version 2 header, which begin behind skip bytes and end before a checksum.
func (h *headerReader) checked(c *cursor, skip int) error {
	c.skip(skip)
	body := c.sub(c.left() - 4)
	c.checksum()
	if err := c.err("object header"); err != nil {
		return err
	}
	return h.read(body)
}

// chunk reads one chunk but the first of a version 2 header.
func (h *headerReader) chunk(s span) error {
	c, err := h.block(s.at, s.size)
	if err != nil {
		return err
	}
	if !h.two {
		return h.read(c)
	}
	c.magic("OCHK")
	if err := c.err("object header"); err != nil {
		return err
	}
	c.off = 0
	return h.checked(c, 4)
}

// read reads messages up to the end of a chunk, where a gap too small for another one may be.
func (h *headerReader) read(c *cursor) error {
	prefix := 8
	if h.two {
		prefix = 4
		if h.ordered {
			prefix = 6
		}
	}
	for c.left() >= prefix {
		var m message
		var size uint16
		if h.two {
			m.kind, size, m.flags = uint16(c.u8()), c.u16(), c.u8()
			c.skip(prefix - 4)
		} else {
			m.kind, size, m.flags = c.u16(), c.u16(), c.u8()
			c.skip(3)
		}
		m.cursor = c.sub(int(size))
		if err := c.err("object header"); err != nil {
			return err
		}
		if m.kind == messageContinuation {
			s := span{m.address(), m.length()}
			if err := m.err("continuation"); err != nil {
				return err
			}
			h.more = append(h.more, s)
		} else {
			h.messages = append(h.messages, m)
		}
		if len(h.messages)+len(h.more) > maxMessages {
			return limited(m.at, "an object header of more than %d messages", maxMessages)
		}
	}
	return nil
}

// check refuses messages that cannot be read.
func (m message) check() error {
	switch {
	case m.kind == messageExternal:
		return unsupported(m.at, "elements in other files")
	case m.flags&flagShared != 0 && m.kind <= messageAttributeInfo:
		return unsupported(m.at, "a shared message of type %#x", m.kind)
	case m.flags&flagRequired != 0 && m.kind > messageAttributeInfo:
		return unsupported(m.at, "a message of type %#x", m.kind)
	}
	return nil
}
