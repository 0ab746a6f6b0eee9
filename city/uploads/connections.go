package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	maxOfOneAddress     = 128 // before anybody knows whose they are: a provider may have many homes behind one
	maxInAll            = 1024
	maxOfOneCertificate = 16 // a gateway uses one per upload under way, and one at a time
	handshakeTimeout    = 5 * time.Second
)

// places counts connections from the moment of their accept, by address, and by certificate once it is known.
type places struct {
	net.Listener
	mutex     sync.Mutex
	inAll     int
	addresses map[string]int
	peers     map[string]int
}

// conn gives its places back when it is closed, by whomever and however often.
type conn struct {
	net.Conn
	places        *places
	address, peer string
	once          sync.Once
	handshake     *time.Timer
}

func (p *places) Accept() (net.Conn, error) {
	for {
		plain, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address, _, _ := net.SplitHostPort(plain.RemoteAddr().String())
		if p.take(address) {
			taken := &conn{Conn: plain, places: p, address: address}
			taken.handshake = time.AfterFunc(handshakeTimeout, func() { taken.Close() })
			return taken, nil
		}
		plain.Close()
	}
}

func (p *places) take(address string) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.inAll >= maxInAll || p.addresses[address] >= maxOfOneAddress {
		return false
	}
	p.inAll++
	p.addresses[address]++
	return true
}

// name notes whose a connection is; an error for one too many.
func (c *conn) name(peer string) error {
	c.places.mutex.Lock()
	defer c.places.mutex.Unlock()
	if c.places.peers[peer] >= maxOfOneCertificate {
		return errors.New("too many connections of one certificate")
	}
	c.handshake.Stop()
	c.peer = peer
	c.places.peers[peer]++
	return nil
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.handshake.Stop()
		c.places.mutex.Lock()
		defer c.places.mutex.Unlock()
		c.places.inAll--
		give(c.places.addresses, c.address)
		if c.peer != "" {
			give(c.places.peers, c.peer)
		}
	})
	return c.Conn.Close()
}

func give(counts map[string]int, key string) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// findPeer returns the one CN of a verified certificate; "" for any other number of them.
func findPeer(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	subject, found := state.PeerCertificates[0].Subject, ""
	for _, each := range subject.Names {
		if each.Type.String() == "2.5.4.3" {
			if found != "" {
				return ""
			}
			found, _ = each.Value.(string)
		}
	}
	return found
}

// listenTLS wraps a listening socket: counted, and for certificates of our authorities alone.
func listenTLS(plain net.Listener, s settings) (net.Listener, error) {
	certificate, err := tls.LoadX509KeyPair(s.certificate, s.key)
	if err != nil {
		return nil, err
	}
	authorities, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New(s.ca + ": no certificate in it")
	}
	return newGreeter(&places{Listener: plain, addresses: map[string]int{}, peers: map[string]int{}}, &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		// A resumed session would skip the check of a certificate's end.
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if !cnPattern.MatchString(findPeer(&state)) {
				return errors.New("certificate names no gateway")
			}
			return nil
		},
	}), nil
}

// greeter hands out connections whose handshake is over. Only then has a peer shown that the certificate is its own
// (RFC 8446, 4.4.3): counted before, anybody who knows a gateway's certificate could take its places.
type greeter struct {
	*places
	config *tls.Config
	ready  chan net.Conn
	failed chan error
	closed chan struct{}
	once   sync.Once
}

func newGreeter(from *places, config *tls.Config) *greeter {
	made := &greeter{
		places: from, config: config,
		ready: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}),
	}
	go made.run()
	return made
}

func (g *greeter) run() {
	for {
		plain, err := g.places.Accept()
		if err == nil {
			go g.greet(plain.(*conn))
			continue
		}
		select {
		case g.failed <- err: // the server tries again, or ends
		case <-g.closed:
			return
		}
	}
}

func (g *greeter) greet(plain *conn) {
	greeted := tls.Server(plain, g.config)
	if greeted.Handshake() != nil { // the timer of its accept ends it
		plain.Close()
		return
	}
	state := greeted.ConnectionState()
	if plain.name(findPeer(&state)) != nil {
		plain.Close()
		return
	}
	select {
	case g.ready <- greeted:
	case <-g.closed:
		plain.Close()
	}
}

func (g *greeter) Accept() (net.Conn, error) {
	select {
	case greeted := <-g.ready:
		return greeted, nil
	case err := <-g.failed:
		return nil, err
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *greeter) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.places.Close()
}
