qm set 101 \
  --cpu host,flags=+pcid,hidden=1,hv-vendor-id=vfioscripts \
  --cores 6 \
  --affinity 4-6,12-14 \
  --numa 1 \
  --hugepages 2 \
  --hostpci0 0000:02:00,pcie=1 \
  --usb0 1-2 \
  --scsi1 local-lvm:100,discard=on,iothread=1
