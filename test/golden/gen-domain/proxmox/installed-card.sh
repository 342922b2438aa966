qm set 101 \
  --hostpci0 0000:02:00,pcie=1 \
  --vga none \
  --tablet 0
