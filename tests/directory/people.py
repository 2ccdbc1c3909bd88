"""The people, machines and groups of the domain in which the tests ask. Arguments: its smb.conf, its sam.ldb."""

import sys

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

DOMAIN = "DC=corp,DC=lanyard,DC=test"


def main(smb_conf, sam):
    lp = LoadParm()
    lp.load(smb_conf)
    db = SamDB(url=sam, session_info=system_session(), lp=lp)

    def change(dn, **values):
        message = ldb.Message(ldb.Dn(db, dn))
        for name, value in values.items():
            message[name] = ldb.MessageElement(str(value), ldb.FLAG_MOD_REPLACE, name)
        db.modify(message)

    # Three wrong passwords lock an account, for half an hour.
    change(DOMAIN, lockoutThreshold=3)
    db.newuser("svc-lanyard", "Svc-Passw0rd-1!")
    for name in ["alice", "bob", "carol", "dave", "erin", "grace", "hugo"]:
        db.newuser(name, "Str0ng-Passw0rd!", mailaddress=name + "@corp.lanyard.test")
    # Two accounts of one address.
    for name in ["frank1", "frank2"]:
        db.newuser(name, "Str0ng-Passw0rd!", mailaddress="frank@corp.lanyard.test")
    db.disable_account("(sAMAccountName=bob)")
    # The first day of 2020.
    change("CN=carol,CN=Users," + DOMAIN, accountExpires=132223104000000000)
    change("CN=erin,CN=Users," + DOMAIN, pwdLastSet=0)
    db.newcomputer("build01")

    # Whoever is in a team may deploy; hugo is in no team, but finance is his primary group.
    for name in ["deployers", "platform", "finance"]:
        db.newgroup(name)
    db.add_remove_group_members("deployers", ["platform"])
    db.add_remove_group_members("platform", ["alice", "bob"])
    db.add_remove_group_members("finance", ["hugo"])
    sid = db.search(DOMAIN, expression="(sAMAccountName=finance)", attrs=["objectSid"])[0]["objectSid"][0]
    number = int.from_bytes(sid[-4:], "little")
    change("CN=hugo,CN=Users," + DOMAIN, primaryGroupID=number)
    db.create_ou("OU=Others," + DOMAIN)
    db.newuser("mallory", "Str0ng-Passw0rd!", userou="OU=Others")


main(*sys.argv[1:])
