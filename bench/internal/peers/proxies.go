package peers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postonce/poe/bench/internal/proc"
)

// nginx as a plain proxy. It asks the application over HTTP/1.1 and keeps its connections, which it does not by default.
const nginxConf = `
daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream application {
		server %[3]s;
		keepalive 512;
		keepalive_requests 1000000000;
	}
	server {
		listen %[2]s backlog=4096;
		location / {
			proxy_pass http://application;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
		}
	}
}
`

// Caddy as a plain proxy. It logs no requests unless it is told to.
const caddyConf = `
{
	admin off
	auto_https off
}
http://%s {
	reverse_proxy %s {
		transport http {
			keepalive_idle_conns_per_host 512
			compression off
		}
	}
}
`

// Nginx starts nginx in front of the application.
func (h *Host) Nginx(ctx context.Context, name, app string) (*Server, error) {
	path, err := find("nginx")
	if err != nil {
		return nil, err
	}
	dir, address, err := h.configured("nginx.conf", func(dir, address string) string {
		return fmt.Sprintf(nginxConf, dir, address, strings.TrimPrefix(app, "http://"))
	})
	if err != nil {
		return nil, err
	}
	p, err := start(proc.Spec{Name: "nginx", Path: path, Args: []string{"-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")}}, address)
	if err != nil {
		return nil, err
	}
	return &Server{
		Name: name, URL: "http://" + address, counted: []*proc.Process{p}, Version: said(ctx, path, "-v"),
		Settings: "worker_processes auto, access_log off, proxy_http_version 1.1, keepalive 512, keepalive_requests without a limit",
	}, nil
}

// Caddy starts Caddy in front of the application.
func (h *Host) Caddy(ctx context.Context, name, app string) (*Server, error) {
	path, err := find("caddy")
	if err != nil {
		return nil, err
	}
	dir, address, err := h.configured("Caddyfile", func(_, address string) string { return fmt.Sprintf(caddyConf, address, app) })
	if err != nil {
		return nil, err
	}
	p, err := start(proc.Spec{
		Name: "caddy", Path: path, Args: []string{"run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "Caddyfile")},
		Env: []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
	}, address)
	if err != nil {
		return nil, err
	}
	return &Server{
		Name: name, URL: "http://" + address, counted: []*proc.Process{p}, Version: "Caddy " + said(ctx, path, "version"),
		Settings: "no access log, keepalive_idle_conns_per_host 512, compression off, no admin endpoint",
	}, nil
}

// configured makes a folder with a file of configuration, for a server at a free address.
func (h *Host) configured(file string, text func(dir, address string) string) (dir, address string, err error) {
	if dir, err = h.folder(strings.ToLower(file)); err != nil {
		return "", "", err
	}
	if address, err = free(); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text(dir, address)), 0o600); err != nil {
		return "", "", fmt.Errorf("writing %s: %w", file, err)
	}
	return dir, address, nil
}
