package queue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// authority makes a certificate that signs itself, for a server and for a client on this machine.
func authority(t *testing.T, folder string) (pair tls.Certificate, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	return pair, certificate, key
}

func TestOpen_NeedsTheCertificatesThatServersWant(t *testing.T) {
	pair, certificate, key := authority(t, t.TempDir())
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	s := node(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
		o.TLS, o.TLSVerify, o.TLSTimeout = true, true, 60
	})
	url := strings.Replace(s.ClientURL(), "nats://", "tls://", 1)
	for name, c := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"nothing":         {func(*Config) {}, false},
		"the authority":   {func(c *Config) { c.CA = certificate }, false},
		"the certificate": {func(c *Config) { c.Certificate, c.Key = certificate, key }, false},
		"both":            {func(c *Config) { c.CA, c.Certificate, c.Key = certificate, certificate, key }, true},
		"no such file":    {func(c *Config) { c.CA = certificate + "x" }, false},
	} {
		d := config(url, "client")
		c.change(&d)
		q, err := Open(t.Context(), d)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if q != nil {
			q.Close()
		}
	}
}

func TestOpen_NeedsTheCredentialsThatServersWant(t *testing.T) {
	pair := func(make func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string) {
		t.Helper()
		key, err := make()
		if err == nil {
			public, err = key.PublicKey()
		}
		if err != nil {
			t.Fatal(err)
		}
		return key, public
	}
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		t.Helper()
		text, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	_, systemID := pair(nkeys.CreateAccount)
	account, accountID := pair(nkeys.CreateAccount)
	user, userID := pair(nkeys.CreateUser)
	trusted := jwt.NewOperatorClaims(operatorID)
	trusted.SystemAccount = systemID
	encode(trusted, operator)
	claims := jwt.NewAccountClaims(accountID)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	accounts := &server.MemAccResolver{}
	for id, text := range map[string]string{accountID: encode(claims, operator), systemID: encode(jwt.NewAccountClaims(systemID), operator)} {
		if err := accounts.Store(id, text); err != nil {
			t.Fatal(err)
		}
	}
	s := node(t, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, accounts, systemID
	})
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userID), account), seed)
	if err != nil {
		t.Fatal(err)
	}
	c := config(s.ClientURL(), "client")
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("anyone may connect")
	}
	c.Credentials = filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(c.Credentials, text, 0o600); err != nil {
		t.Fatal(err)
	}
	q, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
}
