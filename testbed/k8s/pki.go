package k8s

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const lifetime = 30 * 24 * time.Hour

// adminToken is good for this cluster only, which nothing outside reaches.
const adminToken = "testbed-admin"

// secrets makes the cluster's certificates, keys and tokens.
func (c *Cluster) secrets() error {
	ca, caKey, err := c.certificate("ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "testbed-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, nil, nil)
	if err != nil {
		return err
	}
	_, _, err = c.certificate("apiserver", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"kubernetes.default.svc"},
		IPAddresses: []net.IP{net.ParseIP(controlAddr), net.ParseIP(apiServiceAddr), net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	if err != nil {
		return err
	}
	if err := c.accountKeys(); err != nil {
		return err
	}
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", adminToken)
	if err := os.WriteFile(c.file("tokens.csv"), []byte(tokens), 0o600); err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.Kubeconfig(), apiServer, adminToken); err != nil {
		return err
	}
	return c.writeKubeconfig(c.podKubeconfig(), "https://"+apiServiceAddr+":443", adminToken)
}

// certificate writes NAME.crt and NAME.key; without a parent it signs itself.
func (c *Cluster) certificate(name string, t, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = t, key
	}
	t.SerialNumber = big.NewInt(time.Now().UnixNano())
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := writePEM(c.file(name+".crt"), "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	return cert, key, writeKey(c.file(name+".key"), key)
}

// accountKeys sign and check the tokens of service accounts.
func (c *Cluster) accountKeys() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(c.file("accounts.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(c.file("accounts.key"), key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Kubeconfig is the file with which everything may be done.
func (c *Cluster) Kubeconfig() string { return c.file("kubeconfig") }

// podKubeconfig reaches the API server as a pod does: by its Service.
func (c *Cluster) podKubeconfig() string { return c.file("pod-kubeconfig") }

func (c *Cluster) writeKubeconfig(file, server, token string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["testbed"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: c.file("ca.crt")}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["testbed"] = &clientcmdapi.Context{Cluster: "testbed", AuthInfo: "user"}
	config.CurrentContext = "testbed"
	return clientcmd.WriteToFile(*config, file)
}

func (c *Cluster) file(name string) string { return filepath.Join(c.run, name) }
