def test_x(workspace, capsys):
    from repdiff.cli import main
    import time
    t=time.time()
    assert main(["reconstruct","--workspace",str(workspace),"--preset","fast","--n-workers","1"])==0
    print(time.time()-t)
    assert main(["evaluate","--workspace",str(workspace),"--n-workers","1"])==0
    print(time.time()-t)
