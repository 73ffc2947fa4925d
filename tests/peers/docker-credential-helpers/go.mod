module waybill.example/peers/docker-credential-helpers

go 1.26

require github.com/docker/docker-credential-helpers v0.9.13
