package rules

import "golang.org/x/sys/unix"

// shape is the attributes that an expression is understood with. One that is
// missing, or that a newer kernel added, may change what the expression does:
// then it is not understood.
type shape struct {
	need []uint16 // always there
	may  []uint16
}

// shapes are the expressions of linux/netfilter/nf_tables.h whose meaning
// depends on every attribute, up to kernel 7.3.
var shapes = map[string]shape{
	"payload": {[]uint16{unix.NFTA_PAYLOAD_BASE, unix.NFTA_PAYLOAD_OFFSET, unix.NFTA_PAYLOAD_LEN},
		[]uint16{unix.NFTA_PAYLOAD_DREG, unix.NFTA_PAYLOAD_SREG, unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFTA_PAYLOAD_CSUM_OFFSET, unix.NFTA_PAYLOAD_CSUM_FLAGS}},
	"meta": {[]uint16{unix.NFTA_META_KEY}, []uint16{unix.NFTA_META_DREG, unix.NFTA_META_SREG}},
	"ct":   {[]uint16{unix.NFTA_CT_KEY}, []uint16{unix.NFTA_CT_DREG, unix.NFTA_CT_SREG, unix.NFTA_CT_DIRECTION}},
	"cmp":  {[]uint16{unix.NFTA_CMP_SREG, unix.NFTA_CMP_OP, unix.NFTA_CMP_DATA}, nil},
	"bitwise": {[]uint16{unix.NFTA_BITWISE_SREG, unix.NFTA_BITWISE_DREG, unix.NFTA_BITWISE_LEN},
		[]uint16{unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR, nftaBitwiseOp, nftaBitwiseData, nftaBitwiseSreg2}},
	"byteorder": {[]uint16{unix.NFTA_BYTEORDER_SREG, unix.NFTA_BYTEORDER_DREG, unix.NFTA_BYTEORDER_OP, unix.NFTA_BYTEORDER_LEN, unix.NFTA_BYTEORDER_SIZE}, nil},
	"range":     {[]uint16{unix.NFTA_RANGE_SREG, unix.NFTA_RANGE_OP, unix.NFTA_RANGE_FROM_DATA, unix.NFTA_RANGE_TO_DATA}, nil},
	"lookup": {[]uint16{unix.NFTA_LOOKUP_SET, unix.NFTA_LOOKUP_SREG},
		[]uint16{unix.NFTA_LOOKUP_DREG, unix.NFTA_LOOKUP_SET_ID, unix.NFTA_LOOKUP_FLAGS}},
	"immediate": {[]uint16{unix.NFTA_IMMEDIATE_DREG, unix.NFTA_IMMEDIATE_DATA}, nil},
	"counter":   {nil, []uint16{unix.NFTA_COUNTER_BYTES, unix.NFTA_COUNTER_PACKETS, unix.NFTA_COUNTER_PAD}},
	"fib":       {[]uint16{unix.NFTA_FIB_DREG, unix.NFTA_FIB_RESULT, unix.NFTA_FIB_FLAGS}, nil},
	"nat": {[]uint16{unix.NFTA_NAT_TYPE}, []uint16{unix.NFTA_NAT_FAMILY, unix.NFTA_NAT_REG_ADDR_MIN, unix.NFTA_NAT_REG_ADDR_MAX,
		unix.NFTA_NAT_REG_PROTO_MIN, unix.NFTA_NAT_REG_PROTO_MAX, nftaNATFlags}},
	"masq":   {nil, []uint16{unix.NFTA_MASQ_FLAGS, unix.NFTA_MASQ_REG_PROTO_MIN, unix.NFTA_MASQ_REG_PROTO_MAX}},
	"redir":  {nil, []uint16{unix.NFTA_REDIR_REG_PROTO_MIN, unix.NFTA_REDIR_REG_PROTO_MAX, unix.NFTA_REDIR_FLAGS}},
	"reject": {[]uint16{unix.NFTA_REJECT_TYPE}, []uint16{unix.NFTA_REJECT_ICMP_CODE}},
	"queue":  {nil, []uint16{unix.NFTA_QUEUE_NUM, unix.NFTA_QUEUE_TOTAL, unix.NFTA_QUEUE_FLAGS, unix.NFTA_QUEUE_SREG_QNUM}},
	"dynset": {[]uint16{unix.NFTA_DYNSET_SET_NAME, unix.NFTA_DYNSET_OP, unix.NFTA_DYNSET_SREG_KEY},
		[]uint16{unix.NFTA_DYNSET_SET_ID, unix.NFTA_DYNSET_SREG_DATA, unix.NFTA_DYNSET_TIMEOUT, unix.NFTA_DYNSET_EXPR,
			unix.NFTA_DYNSET_PAD, unix.NFTA_DYNSET_FLAGS, nftaDynsetExprs}},
	"match":  {[]uint16{unix.NFTA_MATCH_NAME, unix.NFTA_MATCH_REV}, []uint16{unix.NFTA_MATCH_INFO}},
	"target": {[]uint16{unix.NFTA_TARGET_NAME, unix.NFTA_TARGET_REV}, []uint16{unix.NFTA_TARGET_INFO}},
}

// fits: the expression has what it needs and nothing that is new.
func (s *shape) fits(d *attrs) bool {
	var all uint32
	for _, t := range s.need {
		if len(d.get(t)) == 0 {
			return false
		}
		all |= 1 << t
	}
	for _, t := range s.may {
		all |= 1 << t
	}
	return !d.beyond && d.have&^all == 0
}

// registers names those attributes of expressions that hold a register; a
// register that does not exist is not understood.
var registers = map[string][]uint16{
	"payload":   {unix.NFTA_PAYLOAD_DREG, unix.NFTA_PAYLOAD_SREG},
	"meta":      {unix.NFTA_META_DREG, unix.NFTA_META_SREG},
	"ct":        {unix.NFTA_CT_DREG, unix.NFTA_CT_SREG},
	"cmp":       {unix.NFTA_CMP_SREG},
	"bitwise":   {unix.NFTA_BITWISE_SREG, unix.NFTA_BITWISE_DREG, nftaBitwiseSreg2},
	"byteorder": {unix.NFTA_BYTEORDER_SREG, unix.NFTA_BYTEORDER_DREG},
	"range":     {unix.NFTA_RANGE_SREG},
	"lookup":    {unix.NFTA_LOOKUP_SREG, unix.NFTA_LOOKUP_DREG},
	"immediate": {unix.NFTA_IMMEDIATE_DREG},
	"fib":       {unix.NFTA_FIB_DREG},
	"nat":       {unix.NFTA_NAT_REG_ADDR_MIN, unix.NFTA_NAT_REG_ADDR_MAX, unix.NFTA_NAT_REG_PROTO_MIN, unix.NFTA_NAT_REG_PROTO_MAX},
	"redir":     {unix.NFTA_REDIR_REG_PROTO_MIN, unix.NFTA_REDIR_REG_PROTO_MAX},
}

// understood: decodeExpr may take the expression for what its name says.
func understood(name string, d *attrs) bool {
	s, ok := shapes[name]
	if !ok {
		return true // decided by name alone
	}
	if !s.fits(d) {
		return false
	}
	for _, t := range registers[name] {
		if d.has(t) && d.reg(t) == -1 {
			return false
		}
	}
	return true
}
