{
  description = "Give PCI devices of this host to virtual machines: plan, apply, proof, undo";

  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      packageFor =
        pkgs:
        pkgs.stdenvNoCC.mkDerivation {
          pname = "vfio-scripts";
          version = "@VERSION@";
          src = ./vfio-scripts-@VERSION@.tar.gz;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          buildInputs = [ pkgs.nodejs ];
          installPhase = ''
            runHook preInstall
            install -Dm755 -t $out/share/vfio-scripts *.mjs
            install -Dm644 -t $out/share/vfio-scripts setup.md
            install -Dm644 -t $out/share/doc/vfio-scripts LICENSE THIRD-PARTY-NOTICES
            mkdir -p $out/bin
            for file in *.mjs; do
              ln -s ../share/vfio-scripts/$file $out/bin/''${file%.mjs}
            done
            installManPage man/man1/* man/man7/*
            installShellCompletion --bash completions/bash/*
            installShellCompletion --zsh completions/zsh/*
            installShellCompletion --fish completions/fish/*
            runHook postInstall
          '';
          meta = {
            description = "Give PCI devices of this host to virtual machines";
            license = pkgs.lib.licenses.mit;
            platforms = pkgs.lib.platforms.linux;
          };
        };
    in
    {
      packages = nixpkgs.lib.genAttrs systems (system: {
        default = packageFor nixpkgs.legacyPackages.${system};
      });
    };
}
